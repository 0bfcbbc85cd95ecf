"""The developer page: rendered here, from templates/ and static/, and usable without JavaScript."""
