"""Which way a statement goes: as a query, as a statistic of quantiles, or by finding its keys."""

from __future__ import annotations

from yumen_core.errors import CallError

from yumen._arguments import check_question
from yumen.key_query import KeyStatement, find_keys, notes_of, undeclared_key
from yumen.quantile_query import check_quantile_query, check_statement, quantile_query
from yumen.quantile_statement import asks_quantiles, read_statement
from yumen.report import CheckReport
from yumen.result import Result
from yumen.session import Session, Terms
from yumen.statistics.federated import FederationSource

_STAND_IN = "0"


def answer(session: Session, sql: str, terms: Terms) -> Result:
    """A released aggregate; see `Federation.query`."""
    check_question(sql, terms.purpose, terms.min_nodes)
    statement = _by_keys(session, sql, terms)
    if statement is None:
        return _asked(session, sql, terms)
    source = FederationSource(session, statement.schema.name, terms)
    found = find_keys(source, statement)
    result = _asked(session, statement.over(found.keys), terms)
    result.notes += notes_of(found, statement)
    return result


def decide(session: Session, sql: str, terms: Terms) -> CheckReport:
    """Every party's decision; see `Federation.check`. Of two jobs, on the first."""
    check_question(sql, terms.purpose, terms.min_nodes)
    statement = _by_keys(session, sql, terms)
    if statement is not None:
        source = FederationSource(session, statement.schema.name, terms)
        return source.check_statistic(statement.statistic())
    if asks_quantiles(sql):
        source = FederationSource(session, read_statement(sql).table, terms)
        return check_quantile_query(source, sql)
    return session.check(session.ask(sql, terms))


def _asked(session: Session, sql: str, terms: Terms) -> Result:
    if asks_quantiles(sql):
        return quantile_query(FederationSource(session, read_statement(sql).table, terms), sql)
    return session.query(sql, terms)


def _by_keys(session: Session, sql: str, terms: Terms) -> KeyStatement | None:
    """The statement, where its keys must be found first.

    Raises `CallError` where something else is wrong with it, so that no job is spent on its keys.
    """
    quantiles = asks_quantiles(sql)
    if not quantiles:
        try:
            session.ask(sql, terms)
        except CallError as fault:
            if fault.code != "sql_unsupported":
                raise
            statement = _undeclared(session, sql)
            if statement is None:
                raise
            session.ask(statement.over([_STAND_IN]), terms)
            return statement
        return None
    statement = _undeclared(session, sql)
    if statement is not None:
        source = FederationSource(session, statement.schema.name, terms)
        check_statement(source, statement.over([_STAND_IN]))
    return statement


def _undeclared(session: Session, sql: str) -> KeyStatement | None:
    catalogue = [signed for signed, _ in session.client.catalogue()]
    schemas = [t.schema for node in catalogue for t in node.descriptor.tables.values()]
    return undeclared_key(sql, schemas)
