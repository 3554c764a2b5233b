"""What the demo asks, in SQL and in the words of its tables."""

from __future__ import annotations

from dataclasses import dataclass

PURPOSE = "research"
DENIED_PURPOSE = "insurance-pricing"
MEASURES = ("patients", "mean_chol", "sd_chol", "mean_disease")

_MEASURES_SQL = """\
COUNT(*) AS patients,
       AVG(chol) AS mean_chol,
       STDDEV_SAMP(chol) AS sd_chol,
       AVG(num) AS mean_disease"""


@dataclass(frozen=True)
class Question:
    """One query. `key` is the group's column in the result."""

    title: str
    key: str
    sql: str


QUESTIONS = (
    Question(
        "by sex",
        "sex",
        f"SELECT sex,\n       {_MEASURES_SQL}\nFROM heart\nGROUP BY sex",
    ),
    Question(
        "by age band",
        "age_band",
        "SELECT CASE WHEN age < 50 THEN '<50' WHEN age < 60 THEN '50-59' ELSE '60+' END"
        f" AS age_band,\n       {_MEASURES_SQL}\nFROM heart\nGROUP BY age_band",
    ),
)
