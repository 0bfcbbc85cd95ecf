"""`uvicorn asgi:app`: the app with the settings of the environment."""

from texts import create_app

app = create_app()
