"""A pretrained net on images of your own: new head, early layers at a lower rate, best epoch kept.

    sparsenet train sparsenet_bc_40_k12.cifar10 --recipe finetune --data DIR

The recipe as it stands was not run on a set with known results. With its rates, at 32 pixels,
examples/finetune.py reaches 52.9% error on 20 classes of CIFAR-100 from 10 images of each, 20.3% from 500
(docs/backbone.md).
"""

OPTIONS = dict(
    pretrained=True,
    size=64,
    keep_best=True,
    epochs=20,
    batch_size=32,
    lr=0.05,
    layer_decay=0.8,
    schedule="cosine",
    warmup=0.1,
    weight_decay=1e-4,
    compile=False,
)
