"""Division: attack-train and attack-eval, and the memberships an attack may see."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Division:
    """The audited records in two parts; a population is in neither."""

    audited: NDArray[np.bool_]  # (n_records,)
    attack_train: NDArray[np.bool_]  # (n_records,) their memberships may be used
    # (n_records,) of the target; of records that are not in attack-train, False
    member: NDArray[np.bool_]

    @property
    def attack_eval(self) -> NDArray[np.bool_]:
        """(n_records,) the audited records that attacks are judged by."""
        return self.audited & ~self.attack_train


def withholding(
    audited: NDArray[np.bool_],
    evaluation: NDArray[np.bool_],
    member: NDArray[np.bool_],
) -> Division:
    """Return a division that holds no membership of attack-eval.

    Args:
        audited: (n_records,) the others are a population.
        evaluation: (n_audited,) whether an audited record is in attack-eval.
        member: (n_records,) all memberships.
    """
    attack_train = np.zeros(len(audited), dtype=bool)
    attack_train[audited] = ~evaluation
    return Division(audited, attack_train, member & attack_train)
