"""The gateway inside a Litestar app: the app's own handlers replace a backend."""
