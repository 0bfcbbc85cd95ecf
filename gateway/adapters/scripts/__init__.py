"""The Lua that runs inside Redis; read as package data."""
