"""The part of a PostgreSQL database that a run is about: a table, its key, its text and its vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from embedmill.core.errors import SpaceMismatch, StoreError, UsageError
from embedmill.storage import columns as naming
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.columns import Column
from embedmill.storage.driver import TableRequest
from embedmill.storage.postgres.blocking import BRIEFLY
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.identifiers import Name
from embedmill.storage.postgres.pgvector import find_vector

from psycopg import errors, sql  # isort: skip - after the module that says what to install

_MOST_DIMENSIONS: Final = 16_000  # that pgvector's types can hold (its README)

_KINDS: Final = "vector or halfvec"


@dataclass(frozen=True, slots=True)
class TableSpec:
    """What is read and filled."""

    oid: int
    schema: str
    name: str
    vector: str
    kind: str  # of the vectors: "vector" or "halfvec"
    extension: str  # the schema of pgvector's types; "" where it is not there yet, or not needed
    partitioned: bool
    missing: bool  # the vector column is still to be created
    raw: bool  # the database knows bytes, and no encoding (SQL_ASCII)
    dimension: int | None = None  # of the column; None where it takes any
    option: str = "--vector"  # by which that is named, for messages
    number: int = 0  # of the vector column in pg_attribute; 0 where there is none
    vector_not_null: bool = False
    keys: tuple[str, ...] = ()  # the columns of a unique index, in its order
    key_types: tuple[str, ...] = ()  # as they are written in SQL wherever one looks from, with their collation
    key_operators: tuple[str, ...] = ()  # the schemas of those that compare them: of an extension's type it may be any
    text: str = ""

    @property
    def table(self) -> sql.Identifier:
        """The table's name for a statement."""
        return sql.Identifier(self.schema, self.name)

    @property
    def title(self) -> str:
        """``schema.table``, for people, who may give it back."""
        return naming.shown([self.schema, self.name])

    @property
    def metrics_title(self) -> str:
        """The table of metrics, for people."""
        return naming.shown([self.schema, naming.metrics_name(self.name)])

    @property
    def rows(self) -> sql.Composed:
        """Where a statement finds the table's rows: in its partitions, but not in tables that inherit from it.

        Those have rows of their own, whose keys may be the same.
        """
        return sql.SQL("{}" if self.partitioned else "ONLY {}").format(Name(self.schema, self.name))

    def lock(self, work: str) -> str:
        """What the key of an advisory lock is made from; says what it is for, and nothing of how names are shown."""
        return f"embedmill {work} {self.table.as_string(None)}"


def find(
    connection: Connection,
    name: str,
    asked: TableRequest,
    noted: Callable[[TableSpec], CatalogEntry | None] = lambda spec: None,
) -> TableSpec:
    """Find the table and choose its columns; changes nothing.

    `noted` tells what an earlier run has filled a table's vector column from: that is meant where nothing is given. It
    is asked before key and text are chosen.
    Raises `UsageError` where table or columns are not there, do not fit or are not clear; else what psycopg raises.
    """
    oid, schema, table, relation = _table(connection, name)
    title = naming.shown([schema, table])
    if relation not in ("r", "p"):
        raise UsageError(f"{title} is {_RELATIONS[relation]}")
    columns = _columns(connection, oid)
    column: Column | str = ""
    with naming.optional(not asked.metrics_only):
        others = naming.without(columns, asked.beside if asked.vector is None else None)
        column = naming.choose_vector(
            others, asked.vector, title, create=asked.create, kinds=_KINDS, option=asked.option
        )
    spec = TableSpec(
        oid=oid,
        schema=schema,
        name=table,
        vector=column if isinstance(column, str) else column.name,
        kind="halfvec" if asked.halfvec else "vector",
        extension=find_vector(connection) or "",
        partitioned=relation == "p",
        missing=isinstance(column, str),
        raw=connection.info.parameter_status("server_encoding") == "SQL_ASCII",
        option=asked.option,
    )
    if isinstance(column, Column):
        stored = _vector_type(connection, oid, column.name)
        if asked.halfvec and stored.kind != "halfvec":
            wrong = "--halfvec" if asked.option == "--vector" else asked.option
            remedy = f"leave {wrong} out, or " if wrong == "--halfvec" else "the other is a halfvec: "
            another = naming.another_column(asked.option)
            raise UsageError(f"{wrong}: {title}.{column.name} is a {stored.kind}: {remedy}{another}")
        spec = replace(spec, **stored._asdict(), vector_not_null=column.not_null)
    before = noted(spec)
    unique = connection.execute(_UNIQUE, [oid]).fetchall()
    chosen_keys = naming.choose_key(columns, unique, asked.id, before, title)
    chosen_text = naming.choose_text(columns, chosen_keys, naming.meant_text(columns, asked.text, before), title)
    types = full_types(connection, oid, chosen_keys)
    spec = replace(
        spec,
        keys=tuple(types),
        key_types=tuple(kind for kind, _ in types.values()),
        key_operators=tuple(operators for _, operators in types.values()),
        text=chosen_text.name,
    )
    return replace(spec, vector="", number=0, missing=True, extension="") if asked.metrics_only else spec


def check_dimension(spec: TableSpec, dimension: int, model: str) -> None:
    """Raise `SpaceMismatch` where the column holds vectors of another length than the model's."""
    if spec.dimension not in (None, dimension):
        raise SpaceMismatch(
            f"{spec.title}.{spec.vector} has {spec.dimension:,} dimensions, the vectors of {model} have "
            f"{dimension:,}: {naming.another_column(spec.option)}, or a --model that fits"
        )
    if dimension > _MOST_DIMENSIONS:
        raise UsageError(f"{model} has {dimension:,} dimensions, pgvector holds {_MOST_DIMENSIONS:,}")


def check_rights(connection: Connection, spec: TableSpec) -> None:
    """Raise `StoreError` where this user may not read or fill the table; it says what would grant that.

    Found out before the work instead of in the midst of it.
    """
    read = list(dict.fromkeys([*spec.keys, spec.text, spec.vector]))
    unread, written, temporary, user, database = connection.execute(
        """SELECT ARRAY(SELECT name FROM unnest(%(read)s::text[]) name
                        WHERE NOT has_column_privilege(%(table)s::regclass, name, 'SELECT')),
                  has_column_privilege(%(table)s::regclass, %(vector)s, 'UPDATE'),
                  has_database_privilege(current_database(), 'TEMP'), current_user, current_database()""",
        {"read": read, "vector": spec.vector, "table": spec.table.as_string(connection)},
    ).fetchone() or ([], True, True, "", "")
    lacking = []
    if unread:
        lacking.append(sql.SQL("SELECT ({})").format(sql.SQL(", ").join(map(sql.Identifier, unread))))
    if not written:
        lacking.append(sql.SQL("UPDATE ({})").format(sql.Identifier(spec.vector)))
    to = sql.Identifier(user)
    if lacking:
        grant = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(", ").join(lacking), spec.table, to)
        what = "read" if unread else "write"
        raise StoreError(
            f"{connection.shown}: this user may not {what} {', '.join(unread or [spec.vector])} of {spec.title}: "
            f"let its owner run {grant.as_string(connection)}"
        )
    if not temporary:
        grant = sql.SQL("GRANT TEMP ON DATABASE {} TO {}").format(sql.Identifier(database), to)
        raise StoreError(
            f"{connection.shown}: this user may not create temporary tables, which vectors are written through: let an "
            f"administrator run {grant.as_string(connection)}"
        )


def check_unchanged(connection: Connection, spec: TableSpec) -> None:
    """Raise `StoreError` where the table is another, or the column of another type, since it was found."""
    oid = connection.scalar("SELECT to_regclass(%s)::oid", [spec.table.as_string(connection)])
    if oid != spec.oid:
        raise StoreError(f"{spec.title} was renamed or made anew while it was filled: run again")
    vector = _vector_type(connection, spec.oid, spec.vector)
    if vector.number != spec.number:
        raise StoreError(f"{spec.title}.{spec.vector} was swapped with another column while it was filled: run again")
    if (vector.kind, vector.dimension) != (spec.kind, spec.dimension):
        raise StoreError(f"{spec.title}.{spec.vector} was changed to another type while it was filled: run again")


def has_triggers(connection: Connection, spec: TableSpec) -> bool:
    """Whether a change of the table, or of one of its partitions, may set off others."""
    query = """
        SELECT EXISTS (SELECT FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' AND (tgrelid = %(oid)s
                       OR tgrelid IN (SELECT relid FROM pg_partition_tree(%(oid)s::oid))))"""
    return bool(connection.scalar(query, {"oid": spec.oid}))


def create_column(connection: Connection, spec: TableSpec, dimension: int) -> TableSpec:
    """Add the vector column. Raises `StoreError` where this user may not.

    Raises `errors.LockNotAvailable` where others have used the table for longer than they may be made to wait: to be
    tried again.
    """
    statement = sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}({})").format(
        spec.table,
        sql.Identifier(spec.vector),
        sql.Identifier(spec.extension, spec.kind),
        sql.Literal(dimension),
    )
    try:
        with connection.transaction():
            connection.set_local(lock_timeout=BRIEFLY)
            connection.execute(statement)
    except errors.InsufficientPrivilege as error:
        raise StoreError(
            f"{connection.shown}: only the owner of {spec.title} may add a column: let the owner run "
            f"{statement.as_string(connection)}"
        ) from error
    number = _vector_type(connection, spec.oid, spec.vector).number
    return replace(spec, missing=False, dimension=dimension, number=number)


def _table(connection: Connection, name: str) -> tuple[int, str, str, str]:
    """Its oid, schema, name and kind; a name without quotes is looked for as it is, then in lower case."""
    parts = naming.parts(name)
    for exact in (True, False):
        folded = [part if quoted or exact else part.lower() for part, quoted in parts]
        found = connection.execute(
            _FIND, {"name": folded[-1], "schema": folded[0] if len(folded) == 2 else None}
        ).fetchone()
        if found is not None:
            oid, schema, table, relation = found
            return oid, schema, table, relation
    others = [naming.shown(filter(None, row)) for row in connection.execute(OTHERS)]
    raise naming.no_such_table(name, connection.shown, others)


_FIND: Final = """
    SELECT c.oid, n.nspname, c.relname, c.relkind::text
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = %(name)s AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND CASE WHEN %(schema)s::text IS NULL THEN pg_table_is_visible(c.oid) ELSE n.nspname = %(schema)s END
"""

OTHERS: Final = """
    SELECT CASE WHEN NOT pg_table_is_visible(c.oid) THEN n.nspname END, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""
"""All tables: the schema where one has to be named, and the name."""

_RELATIONS: Final = {
    "v": "a view: give the table that it is made from",
    "m": "a materialized view: give the table that it is made from",
    "f": "a foreign table: give the --store that it lies in",
}


def _columns(connection: Connection, oid: int) -> list[Column]:
    rows = connection.execute(
        """SELECT a.attname, format_type(a.atttypid, a.atttypmod), t.typcategory = 'S', a.attnotnull,
                  a.attgenerated::text,
                  EXISTS (SELECT FROM pg_extension e JOIN pg_depend d ON d.refobjid = e.oid
                          WHERE e.extname = 'vector' AND d.classid = 'pg_type'::regclass AND d.objid = t.oid
                          AND t.typname IN ('vector', 'halfvec'))
           FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
           WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""",
        [oid],
    )
    return [
        Column(name, kind, is_text, is_vector and not generated, not_null, bool(generated))
        for name, kind, is_text, not_null, generated, is_vector in rows
    ]


def full_types(connection: Connection, oid: int, columns: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The types of columns, with their schema and, where it is another than the type's own, their collation.

    Each comes with the schema of the operators that an index on the column compares with.
    """
    rows = connection.execute(
        """SELECT a.attname,
                  CASE WHEN tn.nspname <> 'pg_catalog' AND pg_type_is_visible(t.oid) THEN quote_ident(tn.nspname) || '.'
                  ELSE '' END || format_type(a.atttypid, a.atttypmod),
                  quote_ident(cn.nspname) || '.' || quote_ident(c.collname),
                  coalesce((SELECT n.nspname FROM pg_opclass o JOIN pg_am am ON am.oid = o.opcmethod
                            JOIN pg_amop ao ON ao.amopfamily = o.opcfamily AND ao.amopstrategy = 3
                                               AND (ao.amoplefttype, ao.amoprighttype) = (o.opcintype, o.opcintype)
                            JOIN pg_operator op ON op.oid = ao.amopopr JOIN pg_namespace n ON n.oid = op.oprnamespace
                            WHERE am.amname = 'btree' AND o.opcdefault
                            AND o.opcintype IN (t.oid, t.typbasetype) LIMIT 1), 'pg_catalog')
           FROM pg_attribute a
           JOIN pg_type t ON t.oid = a.atttypid
           JOIN pg_namespace tn ON tn.oid = t.typnamespace
           LEFT JOIN pg_collation c ON c.oid = a.attcollation AND c.oid <> t.typcollation
           LEFT JOIN pg_namespace cn ON cn.oid = c.collnamespace
           WHERE a.attrelid = %s AND a.attname = ANY (%s)""",
        [oid, list(columns)],
    )
    found = {
        name: (kind + (f" COLLATE {collation}" if collation else ""), operators)
        for name, kind, collation, operators in rows
    }
    return {name: found[name] for name in columns}


class _VectorColumn(NamedTuple):
    """The same as of `TableSpec`."""

    kind: str
    dimension: int | None
    number: int


def _vector_type(connection: Connection, oid: int, column: str) -> _VectorColumn:
    """What a column is."""
    query = """
        SELECT t.typname, CASE WHEN a.atttypmod > 0 THEN a.atttypmod END, a.attnum
        FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid WHERE a.attrelid = %s AND a.attname = %s"""
    found = connection.records(_VectorColumn, query, [oid, column])
    if not found:
        raise StoreError(f"column {column} is gone: run again")
    return found[0]


# Whether the index is the primary key's, and its columns in their order, which pages are read by.
_UNIQUE: Final = """
    SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.place)
    FROM pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (number, place)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
    WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
    AND k.place <= i.indnkeyatts
    GROUP BY i.indexrelid, i.indisprimary
    HAVING bool_and(a.attnotnull) AND count(*) = max(i.indnkeyatts)
    ORDER BY i.indisprimary DESC, i.indexrelid
"""
