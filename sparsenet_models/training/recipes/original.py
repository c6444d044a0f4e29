"""The paper's 300 epochs (Zhu et al., ECCV 2018, section 4.1); not run here yet.

The paper's errors with it, CIFAR-10 / CIFAR-100: 40_k24 5.47% / 24.65%, bc_100_k24 - / 22.12 to 22.71%.
Nesterov SGD with momentum 0.9, batch 64, rate 0.1 divided by 10 after 150 and 225 epochs, weight decay
1e-4 on weights only, crops padded by 4 and flips.
"""

OPTIONS = dict(
    epochs=300,
    batch_size=64,
    lr=0.1,
    schedule="step",
    warmup=0.0,
    weight_decay=1e-4,
)
