"""A database role for each tenant: its transactions may use that tenant's schema and the shared one, and nothing else.

A search path that is turned to another tenant, or a name that spells it out, is an error at once; the path alone would give rows.
The roles cannot log in and own nothing. They are named like their schemas, and the application's own role, which owns all
tables, may take each of them on. What all of them may do in the shared schema, they may through one role more.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connection, transaction

_TENANTS_PER_TRANSACTION = 20
#: Of the application's role, so that two installations on one server share no rights.
_SHARED_ROLE = "left(current_user, 55) || '_tenants'"

_SHARED_RIGHTS = f"""
DO $$ DECLARE
    shared text := {_SHARED_ROLE};
    one regclass;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = shared) THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN', shared);
    END IF;
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO %I', current_database(), shared);
    EXECUTE format('GRANT USAGE ON SCHEMA public TO %I', shared);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO %I', shared);
    EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO %I', shared);
    FOR one IN
        SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND relowner = current_user::regrole AND NOT has_table_privilege(shared, oid, 'DELETE')
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %I', one, shared);
    END LOOP;
    FOR one IN
        SELECT seqrelid FROM pg_sequence JOIN pg_class ON pg_class.oid = seqrelid WHERE relnamespace = 'public'::regnamespace
            AND relowner = current_user::regrole AND NOT has_sequence_privilege(shared, seqrelid, 'USAGE')
    LOOP
        EXECUTE format('GRANT USAGE, SELECT ON SEQUENCE %s TO %I', one, shared);
    END LOOP;
END $$;
"""

_RIGHTS = f"""
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{{name}}') THEN
        CREATE ROLE {{name}} NOLOGIN;
    END IF;
    EXECUTE format('GRANT %I TO {{name}}', {_SHARED_ROLE});
END $$;
GRANT {{name}} TO CURRENT_USER;
GRANT USAGE ON SCHEMA {{name}} TO {{name}};
ALTER DEFAULT PRIVILEGES IN SCHEMA {{name}} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {{name}};
ALTER DEFAULT PRIVILEGES IN SCHEMA {{name}} GRANT USAGE, SELECT ON SEQUENCES TO {{name}};
"""
_RIGHTS_IN_WHAT_IS_THERE = """
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {name} TO {name};
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {name} TO {name};
"""

# What a migration makes later has its rights by default, from the role that made it; so a change of that role shows too.
_WITHOUT_RIGHTS = f"""
SELECT schema.nspname
FROM tenants_tenant
JOIN pg_namespace AS schema ON schema.nspname = tenants_tenant.schema_name
LEFT JOIN pg_roles AS own ON own.rolname = schema.nspname
LEFT JOIN pg_roles AS shared ON shared.rolname = {_SHARED_ROLE}
WHERE own.oid IS NULL OR shared.oid IS NULL
    OR NOT has_schema_privilege(own.oid, schema.oid, 'USAGE')
    OR NOT pg_has_role(own.oid, shared.oid, 'USAGE')
    OR NOT pg_has_role(current_user, own.oid, 'MEMBER')
    OR NOT EXISTS (SELECT FROM pg_default_acl WHERE defaclnamespace = schema.oid AND defaclrole = current_user::regrole)
ORDER BY 1
"""


def rights_in_advance(schema_name: str) -> str:
    """The statements that make a tenant's role, when it is missing, and give it its rights in an empty schema: what is made in it later has
    them by default. Naming all tables of one schema would search those of all tenants."""
    return _RIGHTS.format(name=schema_name)


def rights_of(schema_name: str) -> str:
    """The same for a schema that has its tables."""
    return rights_in_advance(schema_name) + _RIGHTS_IN_WHAT_IS_THERE.format(name=schema_name)


def ensure_shared_rights() -> None:
    """What every tenant may do in the shared schema. Idempotent."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_SHARED_RIGHTS)


def ensure_roles() -> int:
    """Gives a role to each tenant that has none, or whose role lacks its rights here. Answers to how many; idempotent and resumable."""
    ensure_shared_rights()
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_RIGHTS)
        names = [name for (name,) in cursor.fetchall()]
    for start in range(0, len(names), _TENANTS_PER_TRANSACTION):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("\n".join(map(rights_of, names[start : start + _TENANTS_PER_TRANSACTION])))
    return len(names)


def ensure_role(schema_name: str) -> None:
    """The same for one tenant, in the transaction that is open."""
    with connection.cursor() as cursor:
        cursor.execute(rights_of(schema_name))


def drop_schema(schema_name: str) -> None:
    """The schema with all that is in it, and its role, unless a copy of the database on the same server uses it still."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"""
            DROP SCHEMA {schema_name} CASCADE;
            DO $$ BEGIN
                DROP ROLE IF EXISTS {schema_name};
            EXCEPTION WHEN dependent_objects_still_exist THEN
                NULL;
            END $$;
        """)


@register(Tags.database)
def may_make_roles(databases: Any = None, **options: Any) -> list[CheckMessage]:
    """Without this right no tenant could be made; better said before anything is changed."""
    if not databases:
        return []
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_user, rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        name, may = cursor.fetchone()
    if may:
        return []
    hint = f'Let an administrator of the database run: ALTER ROLE "{name}" CREATEROLE;'
    return [
        Error(f"The database role {name!r} may not make roles, and every business has one.", hint, id="tenants.E001")
    ]
