"""What the processes of the tests' group compare with one process."""

CUTS = {2: [9, 14], 3: [6, 11, 7]}
"""Keys of each process: no shard ends where a window of 4 does."""

BOTH = ("softmax", "bn", "bn(gain=1,learnable=true)+sh(1,2,3,4,prefix=1)", "linear+bn", "groups")
"""Attentions that are compared with and without causal and padding masks."""

SOME = [
    ("sh(1,2,2,4,weighted=true)", False, True),
    ("sh(1,2,2,4,suffix=1)", True, False),
    ("bn+sh(16,9,30,4,prefix=7)", False, True),
    ("bn+sh(16,9,30,4,prefix=7)", True, True),
    ("linear+bn(learnable=true)", False, True),
    ("bn(scale=none)", False, False),
    ("whiten", False, True),
    ("conv(3)", True, True),
    ("window(3)", True, True),
    ("forget", True, True),
    ("sh(1,2,2,4)|window(3)", True, False),
    ("lla", False, False),
    ("sink(0.5)+sh(2)", False, True),
    ("random(8)", True, False),
    ("boost(2,residual=keys)+sh(2)", False, True),
    ("ridge(0.1)+sh(1,2,3,4)", False, True),
    ("alibi+sh(1,2,3,4)", True, True),
    ("elliptical", False, True),
    ("elliptical", True, False),
    ("rpc(2,1)", False, True),
    ("rpc(2,1)", True, False),
    ("differential(0.3)", True, True),
    ("top(2,3)", True, True),
    ("top(2,3,last=true)", False, True),
    ("sh(2)|top(1,3)", False, False),
    ("hca(3,2)", True, True),
]

SPECS = [
    (spec, is_causal, masked) for spec in BOTH for is_causal in (False, True) for masked in (False, True)
]
SPECS += SOME

TRAFFIC = [
    ("softmax", True, "float64"),
    ("bn+sh(1,1,4,4)", True, "float64"),
    ("sh(1,1,4,4)", False, "bfloat16"),
    ("sh(8,prefix=2)", False, "float64"),
    ("bn", False, "float64"),
    ("linear+bn", False, "float64"),
    ("linear+bn(learnable=true)", False, "float64"),
]

HALVES = [
    ("bn+sh(1,2,3,4)", True),
    ("bn+sh(8)", True),
    ("bn+sh(8)", False),
    ("linear+sh(4)", True),
    ("bn", False),
    ("linear+bn", False),
    ("sh(3)", False),
]
