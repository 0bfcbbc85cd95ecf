"""The gateway inside of a Litestar app: the app's own handlers take the place of a backend."""
