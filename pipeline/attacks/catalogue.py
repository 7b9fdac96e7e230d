"""Names: what attacks there are, by family. No heavy import: the config reads it."""

# Of the target's own outputs, compared with one number for all records.
GLOBAL = ("loss", "confidence", "margin", "entropy", "modified_entropy", "correctness")
# The same with a number for each class.
PER_CLASS = "_per_class"
THRESHOLD = (*GLOBAL, *(f"{name}{PER_CLASS}" for name in GLOBAL[:-1]))
POPULATION = ("attack_p",)
REFERENCE = (
    "lira_online",
    "lira_online_fixed",
    "lira_online_joint",
    "lira_online_bayes",
    "lira_online_hierarchical",
    "lira_offline",
    "lira_offline_fixed",
    "lira_offline_bayes",
    "lira_offline_two_sided",
    "rmia_online",
    "rmia_offline",
    "attack_r",
    "difficulty",
)
# Of these, the ones that compare with OUT references alone.
OFFLINE = (
    "lira_offline",
    "lira_offline_fixed",
    "lira_offline_bayes",
    "lira_offline_two_sided",
    "rmia_offline",
    "attack_r",
    "difficulty",
)
RMIA = ("rmia_online", "rmia_offline")
QUANTILE = ("qmia",)
AMORTISED = ("amortised",)
# Of these, what needs references on both sides of one and the same record.
BOTH = ("lira_online_hierarchical",)
# What makes do with references on either side alone.
EITHER = ("rmia_online", "references", *AMORTISED)
FAMILIES = {
    "threshold": THRESHOLD,
    "population": POPULATION,
    "reference": REFERENCE,
    "quantile": QUANTILE,
    "amortised": AMORTISED,
}
ALL = tuple(name for family in FAMILIES.values() for name in family)
# Chosen among all on attack-train: the favourite, unless it is clearly beaten there.
STRONGEST = "strongest"
FAVOURITE = "amortised"

# What a learned attack can be given, besides the scores of the attacks above.
TUTORIAL = ("loss", "logits")
COLUMNS = (*TUTORIAL, "sorted", "margin", "views", "references")
FEATURES = (*COLUMNS, *ALL)

# How many references an attack or a feature needs on one side of some record; of
# complementary pairs, every record has one on each side for each pair.
NEEDED = {
    **dict.fromkeys(("references", *REFERENCE, *AMORTISED), 1),
    **dict.fromkeys(("lira_online_bayes", "lira_offline_bayes"), 2),
}


def family_of(name: str) -> str:
    """Return the family of an attack that is not learned."""
    return next(family for family, names in FAMILIES.items() if name in names)
