"""For sparsenet121 on the 200 classes of Tiny ImageNet: 25 epochs, 19 at 32 and 48 pixels; not run here yet.

sparsenet train sparsenet121 --recipe tiny-imagenet --data tiny-imagenet
"""

OPTIONS = dict(
    resolution=((32, 12), (48, 7), (64, 6)),
    batch_size=128,
    lr=0.2,
    warmup=0.1,
    weight_decay=5e-4,
    label_smoothing=0.1,
)
