"""The types of the public names; where each of them lies at run time, ``__init__.py`` says."""

from primaldual import integrations as integrations
from primaldual import parallel as parallel
from primaldual.analysis import capture_attention as capture_attention
from primaldual.analysis import head_report as head_report
from primaldual.compression.compress import compress as compress
from primaldual.compression.pruning import prune_heads as prune_heads
from primaldual.compression.uptraining import uptrain as uptrain
from primaldual.environment.doctor import doctor as doctor
from primaldual.estimators import (
    AttentionClassifier as AttentionClassifier,
)
from primaldual.estimators import (
    AttentionRegressor as AttentionRegressor,
)
from primaldual.estimators import (
    AttentionRidgeClassifier as AttentionRidgeClassifier,
)
from primaldual.estimators import (
    AttentionRidgeRegressor as AttentionRidgeRegressor,
)
from primaldual.estimators import (
    AttentionSVR as AttentionSVR,
)
from primaldual.integrations.conversion import Conversion as Conversion
from primaldual.integrations.conversion import convert as convert
from primaldual.integrations.conversion import revert as revert
from primaldual.language import LanguageModel as LanguageModel
from primaldual.models import CausalAttention as CausalAttention
from primaldual.models import TimeSeriesTransformer as TimeSeriesTransformer
from primaldual.nn.folding import fold_batch_norm as fold_batch_norm
from primaldual.nn.kernel_eigen_pair_attention import KernelEigenPairAttention as KernelEigenPairAttention
from primaldual.nn.multihead import MultiheadAttention as MultiheadAttention
from primaldual.nn.primal_attention import PrimalAttention as PrimalAttention
from primaldual.primal.anchored_heads import AnchoredHeads as AnchoredHeads
from primaldual.primal.batch_normalization import BatchNormalization as BatchNormalization
from primaldual.primal.boosting import Boost as Boost
from primaldual.primal.boosting import Scaled as Scaled
from primaldual.primal.chain import Chain as Chain
from primaldual.primal.clipping import Clip as Clip
from primaldual.primal.convolutions import Convolution as Convolution
from primaldual.primal.convolutions import Convolution2d as Convolution2d
from primaldual.primal.decoding.captured import CapturedStep as CapturedStep
from primaldual.primal.decoding.state import DecodingState as DecodingState
from primaldual.primal.delta import Delta as Delta
from primaldual.primal.delta import DeltaFormer as DeltaFormer
from primaldual.primal.derive import derive as derive
from primaldual.primal.differential import Differential as Differential
from primaldual.primal.elliptical import Elliptical as Elliptical
from primaldual.primal.feature_maps import (
    EluPlusOne as EluPlusOne,
)
from primaldual.primal.feature_maps import (
    Exponential as Exponential,
)
from primaldual.primal.feature_maps import (
    FeatureMap as FeatureMap,
)
from primaldual.primal.feature_maps import (
    TruncatedTaylor as TruncatedTaylor,
)
from primaldual.primal.forget import Forget as Forget
from primaldual.primal.gated_pools import GatedPools as GatedPools
from primaldual.primal.inner_products import Cosine as Cosine
from primaldual.primal.inner_products import Dot as Dot
from primaldual.primal.inner_products import Polynomial as Polynomial
from primaldual.primal.normalizers import (
    Constant as Constant,
)
from primaldual.primal.normalizers import (
    Normalizer as Normalizer,
)
from primaldual.primal.normalizers import (
    Sink as Sink,
)
from primaldual.primal.normalizers import (
    SumOfKernels as SumOfKernels,
)
from primaldual.primal.orders import LocalLinear as LocalLinear
from primaldual.primal.orders import Order as Order
from primaldual.primal.orders import Parallax as Parallax
from primaldual.primal.pair_weights import Alibi as Alibi
from primaldual.primal.pair_weights import PairWeights as PairWeights
from primaldual.primal.patterns import MaskedKeys as MaskedKeys
from primaldual.primal.patterns import Window as Window
from primaldual.primal.pooled_heads import PooledHeads as PooledHeads
from primaldual.primal.presets import preset as preset
from primaldual.primal.problem import PrimalProblem as PrimalProblem
from primaldual.primal.random_features import RandomFeatures as RandomFeatures
from primaldual.primal.ridge import Ridge as Ridge
from primaldual.primal.robust_components import RobustComponents as RobustComponents
from primaldual.primal.solvers import Solver as Solver
from primaldual.primal.subsets import AllKeys as AllKeys
from primaldual.primal.subsets import Subset as Subset
from primaldual.primal.support_vectors import SupportVectors as SupportVectors
from primaldual.primal.token_inputs import TokenInput as TokenInput
from primaldual.primal.top_blocks import TopBlocks as TopBlocks
from primaldual.primal.transforms import Identity as Identity
from primaldual.primal.transforms import Transform as Transform
from primaldual.primal.unions import Union as Union
from primaldual.primal.whitening import Whitening as Whitening
from primaldual.primal.words import PARTS as PARTS
from primaldual.primal.words import register as register
from primaldual.svr import BalancingWeights as BalancingWeights
from primaldual.svr import HingeExpansion as HingeExpansion
from primaldual.svr import (
    ImpliedRegression as ImpliedRegression,
)
from primaldual.svr import (
    LeastSquaresExpansion as LeastSquaresExpansion,
)
from primaldual.svr import (
    SupportVectorExpansion as SupportVectorExpansion,
)
from primaldual.svr import balancing_weights as balancing_weights
from primaldual.svr import (
    implied_regression as implied_regression,
)
from primaldual.svr import (
    kernel_scale as kernel_scale,
)
from primaldual.svr import (
    solve as solve,
)
from primaldual.svr import (
    solve_path as solve_path,
)

__version__: str
