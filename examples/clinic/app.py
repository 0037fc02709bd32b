"""The application: pages that show both sides, and forms that do something to either."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from encfields.bulk import TableSpec
from encfields.errors import EncFieldsError

from .adoption import STEPS, PhoneAdoption, change_phone
from .database import Database
from .explain import NotNow, Trouble, explain
from .guard import refusal
from .intruder import Intruder
from .messages import Message, Messages
from .models import Clinic, Patient
from .rotation import Rotation
from .seed import seed
from .settings import Settings
from .wrapping import FileWrapping, KmsWrapping, Wrapping

HERE = Path(__file__).parent
SSN = re.compile(r"[0-9]{3}-[0-9]{2}-[0-9]{4}")
PHONE = re.compile(r"\+?[0-9][0-9 ]{1,18}[0-9]")
templates = Jinja2Templates(HERE / "templates")


class Demonstration:
    """All that the pages speak of.

    :ivar messages: what forms did, to be told on the pages that follow.
    """

    def __init__(self, settings: Settings) -> None:
        self.wrapping: Wrapping = (
            KmsWrapping() if settings.kms == "moto" else FileWrapping(settings)
        )
        self.database = database = Database(settings, self.wrapping)
        seed(database.operations, settings.visits)
        self.intruder = Intruder(database.outsider)
        self.rotation = Rotation(database.operations, database.of_operations)
        self.adoption = PhoneAdoption(
            database.operations, database.outsider, database.of_operations
        )
        self.messages = Messages()

    def calls(self) -> int:
        """How often the key service was asked."""
        stats = [self.database.of_application.stats.keys, self.database.of_operations.stats.keys]
        if isinstance(self.wrapping, KmsWrapping):
            return sum(one.kms_calls for one in stats)
        return sum(one.store_calls for one in stats)

    def values(self) -> tuple[int, int]:
        """How many values were sealed and opened."""
        stats = [self.database.of_application.stats, self.database.of_operations.stats]
        return sum(one.sealed for one in stats), sum(one.opened for one in stats)

    async def close(self) -> None:
        self.rotation.stop()
        await self.database.close()
        self.wrapping.close()


def create_app(settings: Settings) -> FastAPI:
    """The application factory."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Alembic, and the rows to begin with, are synchronous.
        app.state.demonstration = await asyncio.to_thread(Demonstration, settings)
        await app.state.demonstration.database.of_application.aprefetch()
        yield
        await app.state.demonstration.close()

    app = FastAPI(title="Clinic", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), "static")
    for path, show in (
        ("/", patients),
        ("/keys", keys),
        ("/keys/rotation", rotation_panel),
        ("/adoption", adoption),
        ("/meter", meter),
    ):
        app.get(path, response_class=HTMLResponse)(show)
    for path, do in (
        ("/patients", add_patient),
        ("/patients/swap", swap),
        ("/patients/copy", copy),
        ("/patients/flip", flip),
        ("/patients/undo", undo),
        ("/keys/away", take_away),
        ("/keys/rotate", rotate),
        ("/keys/shred", shred),
        ("/adoption/step", adoption_step),
        ("/adoption/back", adoption_back),
        ("/adoption/old", adoption_old),
        ("/adoption/phone", adoption_phone),
    ):
        app.post(path, response_class=HTMLResponse)(do)
    app.exception_handler(EncFieldsError)(in_words)
    app.exception_handler(SQLAlchemyError)(in_words)
    app.exception_handler(Exception)(in_words)
    app.exception_handler(RequestValidationError)(wrong_form)
    app.exception_handler(404)(not_found)
    app.exception_handler(405)(only_a_form)
    app.middleware("http")(guarded)
    return app


def of(request: Request) -> Demonstration:
    found: Demonstration = request.app.state.demonstration
    return found


def page(
    request: Request,
    name: str,
    status: int = 200,
    *,
    trouble: Trouble | None = None,
    **named: Any,
) -> HTMLResponse:
    """A page, with what every page shows.

    :param trouble: of this request; else what the form before it left to be told.
    """
    demo = of(request)
    sealed, opened = demo.values()
    said = demo.messages.take(request.query_params.get("said"))
    if trouble is None and isinstance(said, Trouble):
        trouble = said
    every = {
        "demo": demo,
        "calls": demo.calls(),
        "sealed": sealed,
        "opened": opened,
        "database": demo.database.outsider.dialect.name,
        "notice": said if isinstance(said, str) else None,
        "trouble": trouble,
    }
    return templates.TemplateResponse(request, name, every | named, status_code=status)


def back_to(request: Request, path: str, message: Message) -> Response:
    """After a form: tell what it did, or what is wrong with it, and show the page anew."""
    return RedirectResponse(f"{path}?said={of(request).messages.keep(message)}", 303)


async def guarded(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    """Before all pages."""
    trouble = refusal(request)
    if trouble is not None:
        return page(request, "trouble.html", trouble.status, trouble=trouble)
    return await go_on(request)


async def in_words(request: Request, error: Exception) -> HTMLResponse:
    """An error that no page expected: a page that says what happened and what to do."""
    trouble = explain(error)
    return page(request, "trouble.html", trouble.status, trouble=trouble)


async def wrong_form(request: Request, error: Exception) -> HTMLResponse:
    """A form that no page of ours sends: the field is named, the value is not repeated."""
    fields = {str(one["loc"][-1]) for one in error.errors()}  # type: ignore[attr-defined]
    what = f"The form's {', '.join(sorted(fields))} cannot be understood."
    trouble = Trouble("Nothing was done", what, "Go back, and fill it in again.", 422)
    return page(request, "trouble.html", 422, trouble=trouble)


async def not_found(request: Request, error: Exception) -> HTMLResponse:
    path = request.url.path[:80]
    trouble = Trouble("There is no such page", path, "Go to Patients.", 404)
    return page(request, "trouble.html", 404, trouble=trouble)


async def only_a_form(request: Request, error: Exception) -> HTMLResponse:
    """The address of a form, typed or gone back to."""
    trouble = Trouble(
        "Nothing was done", "This address only takes a form.", "Go to the page with the form.", 405
    )
    return page(request, "trouble.html", 405, trouble=trouble)


async def meter(request: Request) -> HTMLResponse:
    return page(request, "meter.html")


# -- patients ------------------------------------------------------------------------------------


async def patients(request: Request, clinic: str = "", ssn: str = "") -> HTMLResponse:
    """Both sides of the table, or the rows that a look-up by blind index finds."""
    return await _patients(request, clinic=clinic, ssn=ssn)


async def _patients(
    request: Request, status: int = 200, clinic: str = "", ssn: str = "", **named: Any
) -> HTMLResponse:
    problem = None
    clinics = await _clinics(request)
    if ssn and not (SSN.fullmatch(ssn) and clinic in {str(one.id) for one in clinics}):
        problem = "A number has the form 000-00-0000, and is looked for in one clinic."
    search = (int(clinic), ssn) if ssn and not problem else None
    try:
        rows = await _rows(request, search)
    except EncFieldsError as error:
        rows, named = [], {"trouble": explain(error)} | named
    return page(
        request,
        "patients.html",
        422 if problem else status,
        rows=rows,
        clinics=clinics,
        stored=_stored(of(request), {row["id"] for row in rows}),
        asked={"clinic": clinic, "ssn": ssn[:40]},
        problem=problem,
        **{"form": {}, "form_problem": None} | named,
    )


async def _clinics(request: Request) -> list[Clinic]:
    async with AsyncSession(of(request).database.application) as session:
        return list(await session.scalars(select(Clinic).order_by(Clinic.id)))


async def _rows(request: Request, search: tuple[int, str] | None) -> list[dict[str, Any]]:
    """What the application sees. A row that does not open shows why; the others are shown."""
    engine = of(request).database.application
    query = select(Patient.id).order_by(Patient.id)
    if search:
        query = query.where(Patient.clinic_id == search[0], Patient.ssn == search[1])
    async with AsyncSession(engine) as session:
        numbers = list(await session.scalars(query))
    return [await _row(engine, number) for number in numbers]


async def _row(engine: Any, number: int) -> dict[str, Any]:
    async with AsyncSession(engine) as session:
        names = select(Patient.id, Patient.name, Clinic.name.label("clinic")).join(Clinic)
        found = (await session.execute(names.where(Patient.id == number))).one()
        row: dict[str, Any] = dict(found._mapping)
        try:
            patient = await session.get_one(Patient, number)
        except EncFieldsError as error:
            return row | {"trouble": explain(error)}
        return row | {"ssn": patient.ssn, "born": patient.born}


def _stored(demo: Demonstration, numbers: set[int]) -> list[dict[str, Any]]:
    """What the database holds, as anybody sees it who has a copy."""
    with demo.database.outsider.connect() as connection:
        rows = connection.execute(
            text("SELECT id, name, ssn, born, ssn_bidx FROM patient ORDER BY id")
        )
        return [dict(row) for row in rows.mappings() if row["id"] in numbers]


async def add_patient(
    request: Request,
    name: Annotated[str, Form()] = "",
    clinic: Annotated[str, Form()] = "",
    ssn: Annotated[str, Form()] = "",
    born: Annotated[str, Form()] = "",
) -> Response:
    form = {"name": name, "clinic": clinic, "ssn": ssn, "born": born}
    clinics = {str(one.id) for one in await _clinics(request)}
    problem = _problem(form, clinics)
    if problem:
        return await _patients(request, 422, form=form, form_problem=problem)
    patient = Patient(name=name.strip(), clinic_id=int(clinic), ssn=ssn)
    patient.born = dt.date.fromisoformat(born) if born else None
    try:
        async with AsyncSession(of(request).database.application) as session:
            session.add(patient)
            await session.commit()
    except EncFieldsError as error:
        trouble = explain(error)
        return await _patients(request, trouble.status, form=form, trouble=trouble)
    return back_to(request, "/", f"{name.strip()} was added. The database has bytes.")


def _problem(form: dict[str, str], clinics: set[str]) -> str | None:
    """What is wrong with a form, in words, with the field first."""
    name = form["name"].strip()
    if not 0 < len(name) <= 80 or not name.isprintable():
        return "Name: give one, of at most 80 characters that can be printed."
    if form["clinic"] not in clinics:
        return "Clinic: choose one of the list."
    if not SSN.fullmatch(form["ssn"]):
        return "Number: it has the form 000-00-0000."
    try:
        dt.date.fromisoformat(form["born"] or "2000-01-01")
    except ValueError:
        return "Born: a date, such as 1990-12-31."
    return None


Row = Annotated[int, Form(ge=1, le=2**31 - 1)]


def carry_out(request: Request, path: str, work: Callable[[], object], told: str) -> Response:
    """Do what a form asks for, and show its page: with what was done, or with what is wrong."""
    try:
        work()
    except LookupError as error:
        trouble = Trouble("No such row", str(error), "Choose a row of the table.")
        return back_to(request, path, trouble)
    except (EncFieldsError, SQLAlchemyError, NotNow) as error:
        return back_to(request, path, explain(error))
    return back_to(request, path, told)


def swap(request: Request, first: Row, second: Row) -> Response:
    done = f"The intruder swapped the numbers of rows {first} and {second}, in SQL."
    return carry_out(request, "/", lambda: of(request).intruder.swap(first, second), done)


def copy(request: Request, first: Row, second: Row) -> Response:
    done = f"The intruder copied the number of row {first} into row {second}, in SQL."
    return carry_out(request, "/", lambda: of(request).intruder.copy(first, second), done)


def flip(request: Request, first: Row) -> Response:
    done = f"The intruder changed one bit of row {first}, in SQL."
    return carry_out(request, "/", lambda: of(request).intruder.flip(first), done)


def undo(request: Request) -> Response:
    return back_to(request, "/", f"{of(request).intruder.undo()} rows restored from the backup.")


# -- keys ----------------------------------------------------------------------------------------


async def keys(request: Request) -> HTMLResponse:
    encryption = of(request).database.of_operations
    versions = await asyncio.to_thread(encryption.keys.list)
    return page(request, "keys.html", versions=versions, clinics=await _clinics(request))


async def rotation_panel(request: Request) -> HTMLResponse:
    return page(request, "rotation.html")


def take_away(request: Request, away: Annotated[bool, Form()]) -> Response:
    demo = of(request)
    demo.wrapping.away = away
    if not away:
        return back_to(request, "/keys", f"The {demo.wrapping.what} is back.")
    return back_to(
        request,
        "/keys",
        f"The {demo.wrapping.what} is out of reach. Cached keys go on for 8 seconds, then reads "
        "for 20 more; writes stop first. Look at Patients, and add one.",
    )


def rotate(request: Request) -> Response:
    told = "A new key version is in force. The archive follows."
    return carry_out(request, "/keys", of(request).rotation.start, told)


def shred(request: Request, clinic: Row, confirm: Annotated[str, Form()] = "") -> Response:
    """Destroy a clinic's key, if the visitor has typed its id."""
    demo = of(request)
    key_id = f"clinic/{clinic}"
    if confirm != key_id:
        told = f"Type {key_id} to confirm. What would be destroyed stays until you do."
        trouble = Trouble("Nothing was destroyed", f"You typed “{confirm[:40]}”.", told)
        return back_to(request, "/keys", trouble)
    table: Any = Patient.__table__
    try:
        receipt = demo.database.of_operations.keys.destroy(
            key_id, confirm=key_id, specs=[TableSpec.from_table(table)]
        )
    except EncFieldsError as error:
        return back_to(request, "/keys", explain(error))
    return back_to(
        request,
        "/keys",
        f"The key {key_id} is destroyed: {receipt.values} values can be read by nobody, in no "
        "backup of the data, once the caches have run out.",
    )


# -- adoption ------------------------------------------------------------------------------------


async def adoption(request: Request) -> HTMLResponse:
    demo = of(request)
    contacts: list[dict[str, Any]] = []
    trouble = None
    model = demo.adoption.model
    async with AsyncSession(demo.database.application) as session:
        try:
            found = await session.scalars(select(model).order_by(model.id))
            contacts = [{"id": one.id, "name": one.name, "phone": one.phone} for one in found]
        except EncFieldsError as error:
            trouble = explain(error)
    stored = await asyncio.to_thread(demo.adoption.stored)
    return page(
        request,
        "adoption.html",
        trouble=trouble,
        contacts=contacts,
        stored=stored,
        steps=STEPS,
    )


def adoption_step(request: Request, step: Annotated[int | None, Form()] = None) -> Response:
    """Do the step whose button was pressed; a second press of it does not do the next one."""
    adopting = of(request).adoption
    number = adopting.done if step is None else step
    label = STEPS[number].label if 0 <= number < len(STEPS) else "nothing"
    return carry_out(request, "/adoption", lambda: adopting.step(number), f"Done: {label}.")


def adoption_back(request: Request) -> Response:
    told = "The plaintext is back, and the encrypted column is gone."
    return carry_out(request, "/adoption", of(request).adoption.back, told)


def adoption_old(request: Request) -> Response:
    adopting = of(request).adoption
    if adopting.done >= 4:
        trouble = Trouble(
            "The database refuses it",
            "The plaintext is closed: an old version of the application cannot write any more.",
            "That is what the fence is for. Go back, or leave it.",
        )
        try:
            adopting.write_as_before()
        except SQLAlchemyError:  # the driver's own error: a trigger, or a column that is gone
            return back_to(request, "/adoption", trouble)
        return back_to(request, "/adoption", "It was written.")
    told = (
        "An old version of the application wrote plaintext. Its row is pending until it is sealed."
    )
    if adopting.done == 0:
        told = "An old version of the application wrote plaintext."
    return carry_out(request, "/adoption", adopting.write_as_before, told)


def adoption_phone(request: Request, row: Row, phone: Annotated[str, Form()] = "") -> Response:
    demo = of(request)
    if not PHONE.fullmatch(phone):
        trouble = Trouble(
            "That is no telephone number",
            f"You typed “{phone[:40]}”.",
            "Digits and blanks between them, 3 to 20.",
        )
        return back_to(request, "/adoption", trouble)
    return carry_out(
        request,
        "/adoption",
        lambda: change_phone(demo.database.operations, demo.adoption.model, row, phone),
        f"Changed through the deployed version ({demo.adoption.phase}).",
    )
