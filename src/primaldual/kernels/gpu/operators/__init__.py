"""The kernels as operators of torch.library, which torch.compile takes into its graphs; eager mode is faster without."""
