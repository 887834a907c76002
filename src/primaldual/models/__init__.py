"""Whole networks around the library's attention."""

from primaldual.models.case_attention import CaseAttention
from primaldual.models.causal_attention import CausalAttention
from primaldual.models.decoder import Decoder, DecoderState
from primaldual.models.embeddings import EMBEDDINGS, ConvolutionalEmbedding, LinearEmbedding
from primaldual.models.heads import HEADS, FlattenHead, Head, MeanHead
from primaldual.models.random_convolutions import RandomConvolutions
from primaldual.models.series_features import SeriesFeatures
from primaldual.models.time_series import TimeSeriesTransformer
from primaldual.models.token_classifier import TokenClassifier, TokenPairClassifier
from primaldual.models.token_encoder import TokenEncoder

__all__ = [
    "EMBEDDINGS",
    "HEADS",
    "CaseAttention",
    "CausalAttention",
    "ConvolutionalEmbedding",
    "Decoder",
    "DecoderState",
    "FlattenHead",
    "Head",
    "LinearEmbedding",
    "MeanHead",
    "RandomConvolutions",
    "SeriesFeatures",
    "TimeSeriesTransformer",
    "TokenClassifier",
    "TokenEncoder",
    "TokenPairClassifier",
]
