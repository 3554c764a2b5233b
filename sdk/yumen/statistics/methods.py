"""The statistics as methods of a table. Each is written, and documented, in a room of its own."""

from __future__ import annotations

from yumen_core.errors import CallError

from yumen.report import CheckReport
from yumen.statistics import association as _association
from yumen.statistics import cox as _cox
from yumen.statistics import crosstab as _crosstab
from yumen.statistics import derived_columns as _derived_columns
from yumen.statistics import describe as _describe
from yumen.statistics import histogram as _histogram
from yumen.statistics import k_means as _k_means
from yumen.statistics import kaplan_meier as _kaplan_meier
from yumen.statistics import logrank as _logrank
from yumen.statistics import principal_components as _principal_components
from yumen.statistics import proportions as _proportions
from yumen.statistics import quantiles as _quantiles
from yumen.statistics import rank as _rank
from yumen.statistics import regression as _regression
from yumen.statistics import table_one as _table_one
from yumen.statistics import tests_of_means as _tests_of_means
from yumen.statistics.dry_run import Checkable, Decided, DryRun
from yumen.statistics.table import Table


class FederatedTable(Table):
    """Rows of one federated table, for one purpose; made by `Federation.table`.

        t = fed.table("heart", purpose="research")
        print(t.describe())
        print(t.logit("disease ~ age + sex"))

    `where` and `assign` give narrowed and extended views. Nothing is asked of a node until a
    statistic is; each is one signed job, decided on once by every party.
    """

    # Describe
    describe = _describe.describe
    quantile = _quantiles.quantile
    median = _quantiles.median
    histogram = _histogram.histogram
    crosstab = _crosstab.crosstab
    corr = _association.corr
    cov = _association.cov
    table_one = _table_one.table_one
    # Test
    t_test = _tests_of_means.t_test
    anova = _tests_of_means.anova
    chi2 = _crosstab.chi2
    fisher = _crosstab.fisher
    mann_whitney = _rank.mann_whitney
    kruskal = _rank.kruskal
    proportion = _proportions.proportion
    proportions = _proportions.proportions
    # Regress
    ols = _regression.ols
    logit = _regression.logit
    poisson = _regression.poisson
    gamma = _regression.gamma
    glm = _regression.glm
    # Survive
    kaplan_meier = _kaplan_meier.kaplan_meier
    logrank = _logrank.logrank
    cox = _cox.cox
    # Many variables
    pca = _principal_components.pca
    kmeans = _k_means.kmeans
    standardize = _derived_columns.standardize
    impute = _derived_columns.impute

    def check(self, method: str, *arguments: object, **options: object) -> CheckReport:
        """Ask every party whether it would take part in a statistic. No row is touched.

            t.check("logit", "disease ~ age + sex")

        Takes a method's name, then what the method takes. Raises `CallError` as the method does for
        a question that cannot be asked.
        """
        known = sorted(
            name
            for name, entry in vars(FederatedTable).items()
            if callable(entry) and not name.startswith("_") and name != "check"
        )
        if method not in known:
            raise CallError(
                "argument", f"expected a method among {', '.join(known)}, got `{method}`"
            )
        source: Checkable = self._source  # type: ignore[assignment]
        asked = type(self)(
            DryRun(source, self._source.schema, self.purpose),
            where=self._where,
            derived=self._derived,
        )
        try:
            getattr(asked, method)(*arguments, **options)
        except Decided as decided:
            return decided.report
        raise CallError("argument", f"expected a method that asks the nodes, got `{method}`")
