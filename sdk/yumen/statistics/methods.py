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
from yumen.statistics.entrance import bindable, checked
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
    describe = checked(_describe.describe)
    quantile = checked(_quantiles.quantile)
    median = checked(_quantiles.median)
    histogram = checked(_histogram.histogram)
    crosstab = checked(_crosstab.crosstab)
    corr = checked(_association.corr)
    cov = checked(_association.cov)
    table_one = checked(_table_one.table_one)
    # Test
    t_test = checked(_tests_of_means.t_test)
    anova = checked(_tests_of_means.anova)
    chi2 = checked(_crosstab.chi2)
    fisher = checked(_crosstab.fisher)
    mann_whitney = checked(_rank.mann_whitney)
    kruskal = checked(_rank.kruskal)
    proportion = checked(_proportions.proportion)
    proportions = checked(_proportions.proportions)
    # Regress
    ols = checked(_regression.ols)
    logit = checked(_regression.logit)
    poisson = checked(_regression.poisson)
    gamma = checked(_regression.gamma)
    glm = checked(_regression.glm)
    # Survive
    kaplan_meier = checked(_kaplan_meier.kaplan_meier)
    logrank = checked(_logrank.logrank)
    cox = checked(_cox.cox)
    # Many variables
    pca = checked(_principal_components.pca)
    kmeans = checked(_k_means.kmeans)
    standardize = checked(_derived_columns.standardize)
    impute = checked(_derived_columns.impute)

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
        bindable(getattr(asked, method), arguments, options)
        try:
            getattr(asked, method)(*arguments, **options)
        except Decided as decided:
            return decided.report
        raise CallError("argument", f"expected a method that asks the nodes, got `{method}`")
