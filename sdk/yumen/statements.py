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
    if asks_quantiles(sql):
        statement = _undeclared(session, sql)
        if statement is None:
            return _asked(session, sql, terms)
    else:
        try:
            return session.query(sql, terms)
        except CallError as fault:
            statement = _statement_after(fault, session, sql)
    _check_rest(session, statement, terms)
    source = FederationSource(session, statement.schema.name, terms)
    found = find_keys(source, statement)
    result = _asked(session, statement.over(found.keys), terms)
    result.notes += notes_of(found, statement)
    result.elapsed_s += found.provenance.elapsed_s
    return result


def decide(session: Session, sql: str, terms: Terms) -> CheckReport:
    """Every party's decision; see `Federation.check`. Of two jobs, on the first."""
    check_question(sql, terms.purpose, terms.min_nodes)
    if asks_quantiles(sql):
        statement = _undeclared(session, sql)
        if statement is None:
            source = FederationSource(session, read_statement(sql).table, terms)
            return check_quantile_query(source, sql)
    else:
        try:
            return session.check(session.ask(sql, terms))
        except CallError as fault:
            statement = _statement_after(fault, session, sql)
    _check_rest(session, statement, terms)
    source = FederationSource(session, statement.schema.name, terms)
    return source.check_statistic(statement.statistic())


def _asked(session: Session, sql: str, terms: Terms) -> Result:
    if asks_quantiles(sql):
        return quantile_query(FederationSource(session, read_statement(sql).table, terms), sql)
    return session.query(sql, terms)


def _statement_after(fault: CallError, session: Session, sql: str) -> KeyStatement:
    """The statement, where it was refused for a key that nobody declared. Raises the fault."""
    statement = _undeclared(session, sql) if fault.code == "sql_unsupported" else None
    if statement is None:
        raise fault
    return statement


def _check_rest(session: Session, statement: KeyStatement, terms: Terms) -> None:
    """Raise `CallError` where anything else is wrong, before a job is spent on the keys."""
    sql = statement.over([_STAND_IN])
    if asks_quantiles(sql):
        check_statement(FederationSource(session, statement.schema.name, terms), sql)
    else:
        session.ask(sql, terms)


def _undeclared(session: Session, sql: str) -> KeyStatement | None:
    catalogue = [signed for signed, _ in session.client.catalogue()]
    schemas = [t.schema for node in catalogue for t in node.descriptor.tables.values()]
    return undeclared_key(sql, schemas)
