"""The rows that a demonstration begins with: invented people."""

from __future__ import annotations

import datetime as dt
import random

from sqlalchemy import Engine, insert
from sqlalchemy.orm import Session

from .models import Clinic, Patient, Visit, contact_in

CLINICS = {1: "North Clinic", 2: "South Clinic"}
PATIENTS = [
    (1, "Ada Lovelace", "123-45-6789", dt.date(1815, 12, 10)),
    (1, "Grace Hopper", "987-65-4321", dt.date(1906, 12, 9)),
    (1, "Katherine Johnson", "555-12-3456", dt.date(1918, 8, 26)),
    (2, "Alan Turing", "111-22-3333", dt.date(1912, 6, 23)),
    (2, "Edsger Dijkstra", "444-55-6666", dt.date(1930, 5, 11)),
    (2, "Barbara Liskov", "777-88-9999", None),
]
CONTACTS = [
    ("Reception North", "+1 555 0100"),
    ("Reception South", "+1 555 0101"),
    ("Emergency", "+1 555 0102"),
    ("Laboratory", "+1 555 0103"),
]
DIAGNOSES = ("influenza", "fracture", "migraine", "asthma", "allergy", "check-up")


def seed(engine: Engine, visits: int) -> None:
    """Fill the empty tables.

    :param engine: attached: what it writes is encrypted.
    """
    chance = random.Random(1)
    contact = contact_in("plaintext")
    with Session(engine) as session:
        session.add_all(Clinic(id=number, name=name) for number, name in CLINICS.items())
        session.flush()
        for clinic, name, ssn, born in PATIENTS:
            session.add(Patient(clinic_id=clinic, name=name, ssn=ssn, born=born))
        session.add_all(contact(name=name, phone=phone) for name, phone in CONTACTS)
        session.commit()
        rows = [
            {
                "day": dt.date(2026, 1, 1) + dt.timedelta(days=number % 300),
                "diagnosis": chance.choice(DIAGNOSES),
            }
            for number in range(1, visits + 1)
        ]
        session.execute(insert(Visit), rows)
        session.commit()
