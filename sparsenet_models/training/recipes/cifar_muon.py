"""For a CPU that computes in bfloat16: 39 epochs by Muon, most of them at 16 and 24 pixels.

sparsenet_bc_100_k12, seed 0: error 7.26% on CIFAR-10 after 132 minutes on 2 cores of an Intel Xeon with AMX,
and 30.62% on CIFAR-100 after 144 (54 epochs, 16:32,24:14,32:8: 30.00%). By SGD (cifar-tiny with weight decay
5e-4, biases that start with 0, in float32) it was 8.53% on CIFAR-10. docs/runs has all logs, docs/training.md
the rates that were tried. It needs torch 2.9 or newer.
"""

OPTIONS = dict(
    resolution=((16, 24), (24, 9), (32, 6)),
    batch_size=128,
    optimizer="muon",
    lr=0.02,
    momentum=0.9,
    warmup=0.1,
    weight_decay=0.02,
)
