"""A pretrained net on your own images: new head, lower learning rate in early layers, best epoch kept.

    sparsenet train sparsenet_bc_40_k12.cifar10 --recipe finetune --data DIR

This recipe was not run on a data set with known results. With its learning rates, at 32 pixels,
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
