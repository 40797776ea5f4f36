"""Training params for tests; each test names only those that it is about."""

from preference.params import Train


def train(**changes: object) -> Train:
    """DPO for one epoch in steps of one example, with some params set to other values."""
    values: dict[str, object] = {
        "objective": "dpo",
        "beta": 0.1,
        "label_noise": 0.0,
        "kto": {"target_kl": 0.0},
        "epochs": 1,
        "learning_rate": 1e-3,
        "batch_size": 1,
        "grad_accum_steps": 1,
        "weight_decay": 0.0,
        "warmup_ratio": 0.0,
        "max_grad_norm": 1.0,
        "dropout": False,
    }
    return Train.model_validate(values | changes)
