"""One module a subject, one function a figure; `bench.registry` lists them."""
