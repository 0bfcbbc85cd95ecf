"""One file a way of writing a variant down. A renderer yields its content piece by piece: what is too large is noticed
before all of it is made. rendering.py lists them."""
