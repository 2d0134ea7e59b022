"""Which server is meant, and whether every way to say it comes out the same."""

import os
import subprocess
import sys

import psycopg
import pytest
from psycopg import conninfo as libpq
from psycopg import sql
from sqlalchemy import make_url

from ingest import connection as deciding
from ingest.connection import DEFAULT_DATABASE, DEMO_DATABASE, Server, connect, resolve, variable_names
from ingest.errors import TidemarkError

NASTY = "a b'c\"d\\e$f`g%h/i?j#k@l:m&n=o;p!q\tr€"
OTHER = {"host": "db.example.com", "port": "6543", "user": "ann", "password": "pw", "dbname": "shop"}


@pytest.fixture
def nothing_named(monkeypatch):
    for name in ("DATABASE_URL", "PGSERVICEFILE", *variable_names().values()):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def own_server(server, nothing_named):
    """The run's embedded server with none of the databases that `resolve` chooses between."""
    if not server.embedded:
        pytest.skip("about the embedded server")

    def drop():
        with connect(server, autocommit=True) as connection:
            for name in (DEFAULT_DATABASE, DEMO_DATABASE):
                connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))

    drop()
    yield server
    drop()


def shell(exports, variables):
    """What a POSIX shell's environment holds after it evaluated these lines."""
    printing = "\n".join(f'printf "%s\\0" "${{{name}-(unset)}}"' for name in variables)
    done = subprocess.run(["sh", "-c", f"{exports}\n{printing}"], capture_output=True, check=True)
    return dict(zip(variables, done.stdout.decode().split("\0"), strict=False))


def test_a_url_says_everything(nothing_named):
    nothing_named.setenv(
        "DATABASE_URL",
        "postgresql://ann:p%40ss%2Fw%25@db.example.com:6543/shop?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem"
        "&options=-c%20search_path%3Draw&application_name=my%20app&channel_binding=require&keepalives_idle=30",
    )
    server = resolve()
    assert server.embedded is False
    assert server.environment() == {
        "PGHOST": "db.example.com",
        "PGPORT": "6543",
        "PGUSER": "ann",
        "PGPASSWORD": "p@ss/w%",
        "PGDATABASE": "shop",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/etc/ca.pem",
        "PGOPTIONS": "-c search_path=raw",
        "PGAPPNAME": "my app",
        "PGCHANNELBINDING": "require",
    }
    assert server.parameters["keepalives_idle"] == "30"


@pytest.mark.parametrize(
    "parameters",
    [
        OTHER | {"password": NASTY, "user": NASTY, "dbname": NASTY},
        OTHER | {"host": "::1"},
        OTHER | {"host": "/var/run/my sockets"},
        OTHER | {"host": "one,two", "port": "5432,6432", "target_session_attrs": "read-write"},
        OTHER | {"options": "-c a=b -c c='d e'", "sslmode": "require"},
        {name: value for name, value in OTHER.items() if name != "password"},
    ],
    ids=["nasty", "ipv6", "socket", "hosts", "options", "no password"],
)
def test_url_conninfo_and_variables_say_the_same(nothing_named, parameters):
    server = Server(parameters, embedded=False)
    for text in (server.url(), server.conninfo()):
        assert {name: str(value) for name, value in libpq.conninfo_to_dict(text).items()} == parameters
        nothing_named.setenv("DATABASE_URL", text)
        assert resolve().parameters == parameters
    nothing_named.delenv("DATABASE_URL")
    for name, value in server.environment().items():
        nothing_named.setenv(name, value)
    assert resolve().parameters == parameters


def test_sqlalchemy_reads_the_url():
    server = Server(OTHER | {"password": NASTY, "sslmode": "require"}, embedded=False)
    url = make_url(server.url(driver="postgresql+psycopg2"))
    assert url.drivername == "postgresql+psycopg2"
    assert (url.host, url.port, url.username, url.password, url.database) == (
        "db.example.com", 6543, "ann", NASTY, "shop",
    )  # fmt: skip
    assert dict(url.query) == {"sslmode": "require"}


def test_a_password_of_any_characters_logs_in(server, nothing_named, run_ingest):
    role = "tidemark_test_nasty"
    with connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("create role {} login password {}").format(sql.Identifier(role), NASTY))
        try:
            theirs = Server(server.parameters | {"user": role, "password": NASTY}, embedded=False)
            connect(theirs).close()
            psycopg.connect(theirs.url()).close()
            # By way of a shell, as people do it by hand.
            done = run_ingest("server", "env", environment={"DATABASE_URL": theirs.url()}, server=None)
            assert done.returncode == 0, done.stderr
            names = ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"]
            evaluated = shell(done.stdout, names)
            assert evaluated["PGPASSWORD"] == NASTY
            psycopg.connect(
                "", **{key: evaluated[name] for key, name in variable_names().items() if name in names}
            ).close()
        finally:
            admin.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def test_env_unsets_what_would_contradict(own_server, run_ingest):
    done = run_ingest("server", "env", "--database", "postgres", environment={"PGSSLMODE": "verify-full"})
    assert done.returncode == 0, done.stderr
    before = "export PGHOSTADDR=10.0.0.1 PGSERVICE=x PGSSLMODE=verify-full PGAPPNAME=mine\n"
    names = ["PGHOSTADDR", "PGSERVICE", "PGSSLMODE", "PGAPPNAME", "PGDATABASE", "PGPORT"]
    assert shell(before + done.stdout, names) == {
        "PGHOSTADDR": "(unset)",
        "PGSERVICE": "(unset)",
        "PGSSLMODE": "disable",
        "PGAPPNAME": "mine",
        "PGDATABASE": "postgres",
        "PGPORT": own_server.parameters["port"],
    }


def test_env_for_another_database_ends_the_urls_say(run_ingest, nothing_named):
    url = "postgresql://ann:pw@db.example.com/shop"
    environment = {"DATABASE_URL": url}
    kept = run_ingest("server", "env", environment=environment).stdout
    other = run_ingest("server", "env", "--database", "till", environment=environment).stdout
    start = f"export DATABASE_URL={url}\n"
    assert shell(start + kept, ["DATABASE_URL", "PGDATABASE"]) == {"DATABASE_URL": url, "PGDATABASE": "shop"}
    assert shell(start + other, ["DATABASE_URL", "PGDATABASE"]) == {"DATABASE_URL": "(unset)", "PGDATABASE": "till"}


@pytest.mark.parametrize(
    ("url", "variables", "words"),
    [
        ("postgresql://ann@one/shop", {"PGHOST": "two"}, "host 'one' and PGHOST says 'two'"),
        ("postgresql://ann@one:5433/shop", {"PGPORT": "6543"}, "port '5433' and PGPORT says '6543'"),
        ("postgresql://ann@one/shop", {"PGPORT": "6543"}, "port '5432' and PGPORT says '6543'"),
        ("postgresql://ann@one/shop", {"PGUSER": "bob"}, "user 'ann' and PGUSER says 'bob'"),
        ("postgresql://ann@one/shop", {"PGDATABASE": "till"}, "dbname 'shop' and PGDATABASE says 'till'"),
        ("postgresql://ann@one/shop", {"PGHOSTADDR": "10.0.0.1"}, "PGHOSTADDR both name a server"),
    ],
)
def test_contradictions_are_errors(nothing_named, url, variables, words):
    nothing_named.setenv("DATABASE_URL", url)
    for name, value in variables.items():
        nothing_named.setenv(name, value)
    with pytest.raises(TidemarkError, match=words):
        resolve()


def test_variables_fill_what_the_url_leaves_open(nothing_named):
    nothing_named.setenv("DATABASE_URL", "postgresql://one/shop?sslmode=require")
    for name, value in {"PGUSER": "ann", "PGPASSWORD": "pw", "PGSSLMODE": "disable", "PGHOST": "one"}.items():
        nothing_named.setenv(name, value)
    assert resolve().parameters == {
        "host": "one", "port": "5432", "user": "ann", "password": "pw", "dbname": "shop", "sslmode": "require",
    }  # fmt: skip


def test_defaults_are_libpqs(nothing_named):
    nothing_named.setenv("PGHOST", "one")
    nothing_named.setenv("PGUSER", "ann")
    assert resolve().parameters == {"host": "one", "port": "5432", "user": "ann", "dbname": "ann"}
    nothing_named.delenv("PGHOST")
    nothing_named.setenv("PGHOSTADDR", "10.0.0.1")
    assert resolve().parameters["host"] == "10.0.0.1"


def test_a_service_is_looked_up(nothing_named, tmp_path):
    file = tmp_path / "services"
    file.write_text("# ours\n[shop]\nhost=one\nport=6543\nuser=ann\npassword=p%w#d\ndbname=shop\n[other]\nhost=two\n")
    nothing_named.setenv("PGSERVICEFILE", str(file))
    nothing_named.setenv("PGSERVICE", "shop")
    # As in libpq, the service comes before the variables.
    nothing_named.setenv("PGDATABASE", "elsewhere")
    expected = {"host": "one", "port": "6543", "user": "ann", "password": "p%w#d", "dbname": "shop"}
    assert resolve().parameters == expected
    assert "PGSERVICE" not in resolve().environment()
    nothing_named.delenv("PGDATABASE")
    nothing_named.delenv("PGSERVICE")
    nothing_named.setenv("DATABASE_URL", "postgresql:///till?service=shop")
    assert resolve().parameters == expected | {"dbname": "till"}
    nothing_named.setenv("DATABASE_URL", "service=missing")
    with pytest.raises(TidemarkError, match="no service 'missing'"):
        resolve()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://ann:se%cret@one/shop", "invalid percent-encoded token"),
        ("postgresql://ann:secret@one/shop?pgbouncer=true", "pgbouncer"),
        ("mysql://ann:secret@one/shop", "DATABASE_URL cannot be read"),
        ("postgresql://ann:secret@one:port/shop", "'port' is no port"),
    ],
)
def test_an_unreadable_url_is_one_line_without_its_password(run_ingest, nothing_named, url, words):
    done = run_ingest("server", "url", environment={"DATABASE_URL": url})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr
    assert "cret" not in done.stderr


def test_nothing_named_means_the_embedded_server_and_makes_its_database(own_server):
    found = resolve()
    assert found == own_server.with_database("tidemark")
    with connect(found) as connection:
        assert connection.execute("select current_database()").fetchone() == ("tidemark",)
    assert resolve("postgres").database == "postgres"


def test_pgdatabase_alone_picks_a_database_of_the_embedded_server(own_server, nothing_named):
    nothing_named.setenv("PGDATABASE", DEMO_DATABASE)
    nothing_named.setenv("PGSSLMODE", "verify-full")
    assert resolve() == own_server.with_database(DEMO_DATABASE)
    assert DEMO_DATABASE in deciding.databases(own_server)
    connect().close()


def test_variables_that_name_the_embedded_server_mean_it(own_server, nothing_named):
    for name, value in own_server.with_database(DEMO_DATABASE).environment().items():
        nothing_named.setenv(name, value)
    assert deciding.names_a_server() is None
    assert resolve() == own_server.with_database(DEMO_DATABASE)
    assert DEMO_DATABASE in deciding.databases(own_server)
    for name in own_server.environment():
        nothing_named.delenv(name)
    nothing_named.setenv("DATABASE_URL", own_server.with_database(DEMO_DATABASE).url())
    assert resolve() == own_server.with_database(DEMO_DATABASE)
    # Another user of that same server is somebody else.
    nothing_named.setenv("DATABASE_URL", f"postgresql://ann@127.0.0.1:{own_server.parameters['port']}/x")
    assert deciding.names_a_server() == "DATABASE_URL"
    # A wrong password is refused, not mended.
    port = own_server.parameters["port"]
    nothing_named.setenv(
        "DATABASE_URL", f"postgresql://{own_server.parameters['user']}:wrong@127.0.0.1:{port}/postgres"
    )
    with pytest.raises(TidemarkError, match="refused the password"):
        connect(resolve())


def test_readers_get_the_demo_where_there_is_nothing_else(own_server):
    assert resolve(reading=True).database == "tidemark"
    assert not {DEFAULT_DATABASE, DEMO_DATABASE} & set(deciding.databases(own_server))
    resolve(DEMO_DATABASE)
    assert resolve(reading=True).database == "tidemark_demo"
    assert resolve(reading=True, database="postgres").database == "postgres"
    assert resolve().database == "tidemark"
    assert resolve(reading=True).database == "tidemark"


def test_two_that_create_the_database_at_once_both_get_it(own_server):
    commands = [
        subprocess.Popen(
            [sys.executable, "-c", "from ingest.connection import connect; connect().close()"],
            cwd=os.path.dirname(os.path.dirname(deciding.__file__)),
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    assert [(command.communicate()[1], command.returncode) for command in commands] == [(b"", 0)] * 3


def test_start_false_does_not_start(nothing_named, tmp_path):
    nothing_named.setenv("TIDEMARK_HOME", str(tmp_path / "home"))
    with pytest.raises(TidemarkError, match="`python -m ingest server start` starts it"):
        resolve(start=False)
    assert not (tmp_path / "home").exists()


def one_line(server):
    with pytest.raises(TidemarkError) as caught:
        connect(server)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nobody_there_a_wrong_password_and_a_missing_database_are_clear(server):
    given = server.parameters
    away = Server(given | {"port": "1"}, embedded=False)
    assert "No PostgreSQL server answers at 127.0.0.1:1 (connection refused): is it running" in one_line(away)
    unknown = Server(given | {"host": "no-such-host.invalid"}, embedded=False)
    assert "No PostgreSQL server answers at no-such-host.invalid:" in one_line(unknown)
    wrong = Server(given | {"password": "wrong"}, embedded=False)
    assert f"refused the password of user {given['user']!r}" in one_line(wrong)
    without = Server(given | {"password": "", "passfile": "/dev/null"}, embedded=False)
    assert f"wants a password for user {given['user']!r}: set PGPASSWORD" in one_line(without)
    missing = Server(given | {"dbname": 'no "such"'}, embedded=False)
    assert 'create database "no ""such"""' in one_line(missing)
    assert "`python -m ingest migrate` makes it" in one_line(Server(given | {"dbname": "no_such"}, embedded=True))


def test_a_command_ends_with_one_line_and_status_2(run_ingest, nothing_named, server):
    wrong = Server(server.parameters | {"password": "wrong"}, embedded=False).url()
    for url in ("postgresql://a:b@127.0.0.1:1/c", wrong.replace("/tidemark:", "/ann:")):
        done = run_ingest("migrate", environment={"DATABASE_URL": url})
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
        assert done.stderr.startswith("Error: ")


def test_records_are_utf8_whatever_the_environment_says(server, nothing_named):
    nothing_named.setenv("PGCLIENTENCODING", "LATIN1")
    with connect(server) as connection:
        assert connection.execute("select '€'").fetchone() == ("€",)
