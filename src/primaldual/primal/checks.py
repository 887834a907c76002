"""What must hold of tensors before a problem attends."""

from torch import Tensor

from primaldual.errors import ArgumentError, ShapeError, UnsupportedError
from primaldual.kernels.layout import SEQUENCE
from primaldual.kernels.masks import Attendable
from primaldual.primal.choices import Choices
from primaldual.primal.subsets import Subset
from primaldual.primal.transforms import Transform


def check_shapes(query: Tensor, key: Tensor, value: Tensor | None = None) -> None:
    """Raise unless these are tensors that fit: (B, H, Nq, D), (B, Hkv, Nk, D), (B, Hkv, Nk, Dv).

    Raises:
        ArgumentError: something else than a tensor.
        ShapeError: tensors that do not fit.
    """
    tensors = {"query": query, "key": key} | ({} if value is None else {"value": value})
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ArgumentError(f"{name} must be a torch.Tensor; got {type(tensor).__name__}")
        if tensor.dim() != 4:
            raise ShapeError(
                f"{name} must be (batch, heads, length, head_dim); got shape {tuple(tensor.shape)}"
            )
        if tensor.dtype != query.dtype:
            raise ShapeError(
                f"query, key and value must share a dtype; got {query.dtype} and {name} {tensor.dtype}"
            )
        if tensor.shape[0] != query.shape[0]:
            raise ShapeError(
                f"query and {name} must share the batch size; got {query.shape[0]} and {tensor.shape[0]}"
            )
    if query.shape[3] != key.shape[3]:
        raise ShapeError(f"query and key must share head_dim; got {query.shape[3]} and {key.shape[3]}")
    if query.shape[1] % key.shape[1]:
        raise ShapeError(
            f"query heads must be a multiple of key heads; got {query.shape[1]} and {key.shape[1]}"
        )
    if value is not None and value.shape[1:3] != key.shape[1:3]:
        raise ShapeError(
            f"key and value must share heads and length; got {tuple(key.shape[1:3])} and {tuple(value.shape[1:3])}"
        )


def check_mixing(transform: Transform, attendable: Attendable, query_length: int, key_length: int) -> None:
    """Raise UnsupportedError where a transform mixes queries that are not all there."""
    by_query = attendable.is_causal or attendable.pairs is not None
    if transform.mixes_queries and by_query and query_length != key_length:
        raise UnsupportedError(
            f"{transform.spec()} mixes the queries: where what a query may attend differs from query to "
            f"query (causal, mask or window) the whole sequence must be given; got {query_length} queries and "
            f"{key_length} keys"
        )


def check_solver(choices: Choices) -> None:
    """Raise UnsupportedError where the other parts give a solver no meaning."""
    solver, transform, normalizer = choices.solver, choices.transform, choices.normalizer
    if solver.unnormalized and normalizer.factored is not False:
        raise UnsupportedError(
            f"{solver.spec()} fits the kernel itself, with h = 1; got the normaliser "
            f"{normalizer.spec() or type(normalizer).__name__}; accepted is constant, which is its default"
        )
    if solver.attends_means and normalizer.factored is False:
        raise UnsupportedError(
            f"{solver.spec()} attends means of the values again, which grow without bound where weights do not add up to 1; "
            f"got the normaliser {normalizer.spec()}; accepted is the sum of kernels, which is the default"
        )
    if solver.ordered:
        subset = choices.subset
        pairs = (
            type(subset).membership is Subset.membership and type(subset).dense_pairs is Subset.dense_pairs
        )
        if not (pairs and subset.ordered and choices.layout == SEQUENCE):
            raise UnsupportedError(
                f"{solver.spec()} reads tokens one after the other; {subset.spec() or transform.spec()} has pools, unions "
                "or a grid, without an order in time: accepted are subsets of single keys in a sequence"
            )
    if solver.composed and choices.subset.by_feature:
        raise UnsupportedError(
            f"{solver.spec()} combines maps of positions, which {choices.subset.spec()} does not have; accepted are other "
            "subsets"
        )
    if solver.key_parts > 1 and transform.observes:
        raise UnsupportedError(
            f"{solver.spec()} cuts the keys, and {transform.spec()} keeps running statistics of whole ones; accepted are "
            "transforms that keep none"
        )
    if solver.composed and transform.mixes_queries:
        raise UnsupportedError(
            f"{solver.spec()} attends several times, and {transform.spec()} mixes the queries; accepted are transforms that "
            "change each query by itself"
        )


def check_order(choices: Choices) -> None:
    """Raise UnsupportedError where the other parts give a slope no meaning."""
    order, normalizer, solver = choices.order, choices.normalizer, choices.solver
    if not order.linear:
        return
    if normalizer.sink or not normalizer.cancels_query_factors:
        raise UnsupportedError(
            f"{order.spec()} needs weights that add up to 1; those of {normalizer.spec()} do not"
        )
    if not solver.amortized:
        raise UnsupportedError(
            f"{order.spec()} fits a slope to the values themselves; {solver.spec()} changes them, so accepted is one of both"
        )
