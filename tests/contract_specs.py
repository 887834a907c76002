"""The combinations that the contract is run on."""

SPECS = (
    "softmax",
    "linear",
    "taylor(2)",
    "taylor(4)",
    "random(16)",
    "constant",
    "linear+constant",
    "bn",
    "bn(beta=0.8)",
    "bn(scale=none)",
    "bn(beta=0.5,learnable=true)",
    "linear+bn",
    "taylor(2)+bn",
    "constant+bn",
    "window(3)",
    "bn+window(3)",
    "linear+window(2)",
    "sh(1,2,3,4)",
    "sh(2,1,2,5)",
    "sh",
    "sh(2,2,2,2)",
    "sh(1,2,3,4,prefix=1)",
    "bn+sh(1,1,2,4)",
    "bn(beta=0.7)+sh(2,3,1,2)",
    "linear+sh(1,1,2,2)",
    "linear+bn+sh(1,1,3,3)",
    "constant+sh(2,2,3,3)",
)

ONLY_DENSE = ("constant+sh(2,2,3,3)",)
"""Pooled heads without a fast form: torch.export fixes their length."""
