"""A pretrained net on your own images: new head, lower learning rate in early layers, best epoch kept.

    sparsenet train sparsenet_bc_40_k12.cifar10 --recipe finetune --data DIR

Five kinds of flowers (docs/finetuning.md), 40 photographs of each, of which 8 are held out, seed 0, on 2
shared cores, by the size of the images. Unseen are 250 other photographs, so 3 points are chance:

| size | epochs until patience ends the run | best | held-out error | unseen error | processor time |
| --- | --- | --- | --- | --- | --- |
| 32, the net's own | 14 | 9 | 45.0% | 46.0% | 1 min |
| 64 | 18 | 13 | 45.0% | 45.2% | 10 min |

So the recipe has no size. All 20 epochs at 32 end with the same weights, those of epoch 9. Where there is no
val/, a fifth of each class is held out.
"""

OPTIONS = dict(
    pretrained=True,
    keep_best=True,
    epochs=20,
    patience=5,
    batch_size=32,
    lr=0.05,
    layer_decay=0.8,
    schedule="cosine",
    warmup=0.1,
    weight_decay=1e-4,
    compile=False,
)
