"""Wire formats of other systems (Trillian, ABCI) and the code generated from them."""
