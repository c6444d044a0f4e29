"""For sparsenet121 on the 200 classes of Tiny ImageNet: 25 epochs, 19 of them at 32 and 48 pixels.

sparsenet121, seed 0: error 61.77% after 84 minutes on 2 cores of an Intel Xeon with AMX. Only the last six
epochs see 64 pixels, and it shows: error 92.6% before them. Below 64 pixels the maps of the last stage are
1x1, so that eight of the nine weights of its 3x3 kernels get no gradient. The loss still falls by 0.12 in the
last epoch. All epochs at 64 pixels would take half as long again; that was not tried.

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
