"""The example product behind the gateway: a backend with content and no token system of its own."""
