"""What the example application declares today, when every revision has been applied."""

from __future__ import annotations

from sqlalchemy import Column, Integer, MetaData, String, Table, Text

from encfields import BlindIndex, EncryptedType

metadata = MetaData()

person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(100), nullable=False),
    # Values carry the name "person.social"; revision 0008 gave it to those that were older. The
    # index came with revision 0009, and 0010 put into it what was there already.
    Column("social", EncryptedType(String(11), key="clinical", index=BlindIndex(unique=True))),
    # Pinned from the start, so that no renaming ever concerned it.
    Column("notes", EncryptedType(Text, key="clinical", name="clinic.notes")),
)
