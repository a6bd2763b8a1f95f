"""One room a provider. A provider is loaded, and its SDK with it, when it is first asked for."""
