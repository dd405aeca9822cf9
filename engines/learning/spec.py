"""What a training run is asked to do. JSON in, JSON out: a spec is stored with what came of it, for an exact rerun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Algorithm = Literal["lightgbm", "logistic"]


class InvalidSpec(ValueError):
    """A spec that cannot be: the message names the field, what came and what is allowed."""


class LabelSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be predicted at a bar's close, `horizon_bars` ahead.

    direction        whether the close `horizon_bars` later is higher
    triple_barrier   which barrier is reached first (López de Prado 2018, ch. 3): the upper, `target_volatilities`
                     above the close, or the lower, `stop_volatilities` below; a volatility is the deviation of the
                     last 20 log returns, times the root of the horizon. Neither within the horizon: the side of the
                     close on which it ended
    """

    kind: Literal["direction", "triple_barrier"] = "direction"
    horizon_bars: Annotated[int, Meta(ge=1, le=250)] = 5
    target_volatilities: Annotated[float, Meta(ge=0.1, le=10)] = 1.0
    stop_volatilities: Annotated[float, Meta(ge=0.1, le=10)] = 1.0


class BoostingParameters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """LightGBM's parameters, by its names. Training of a fold stops after `early_stopping_iterations` without a better
    validation log-loss; 0: never."""

    iterations: Annotated[int, Meta(ge=1, le=5_000)] = 200
    learning_rate: Annotated[float, Meta(gt=0, le=1)] = 0.03
    num_leaves: Annotated[int, Meta(ge=2, le=256)] = 15
    min_data_in_leaf: Annotated[int, Meta(ge=1, le=100_000)] = 50
    feature_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.8
    bagging_fraction: Annotated[float, Meta(gt=0, le=1)] = 0.8
    lambda_l2: Annotated[float, Meta(ge=0, le=1_000)] = 1.0
    early_stopping_iterations: Annotated[int, Meta(ge=0, le=1_000)] = 30


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`features`: names of `engines.learning.features.FEATURES`; empty: all of them. `embargo_bars`: at least so many
    of each symbol's bars lie between training and test. The first `min_train_share` of the distinct times is never
    tested on."""

    algorithm: Algorithm = "lightgbm"
    features: tuple[str, ...] = ()
    label: LabelSpec = LabelSpec()
    folds: Annotated[int, Meta(ge=2, le=12)] = 4
    embargo_bars: Annotated[int, Meta(ge=0, le=250)] = 5
    min_train_share: Annotated[float, Meta(ge=0.1, le=0.9)] = 0.4
    boosting: BoostingParameters = BoostingParameters()
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 1

    @property
    def effective_embargo_bars(self) -> int:
        """The embargo that splits keep: the label's horizon, or `embargo_bars` when that is longer."""
        return max(self.embargo_bars, self.label.horizon_bars)


def spec_from(values: Mapping[str, Any]) -> TrainingSpec:
    """From JSON values; what is left out has its default. Raises `InvalidSpec`."""
    from engines.learning.features import FEATURES  # noqa: PLC0415 - loads an indicator library; a spec alone need not

    try:
        spec = msgspec.convert(dict(values), TrainingSpec)
    except msgspec.ValidationError as error:
        raise InvalidSpec(str(error)) from None
    unknown = [name for name in spec.features if name not in FEATURES]
    if unknown:
        raise InvalidSpec(f"features: {', '.join(unknown)[:100]} are not known; allowed are {', '.join(FEATURES)}")
    if len(set(spec.features)) < len(spec.features):
        raise InvalidSpec("features: one is named twice")
    return spec
