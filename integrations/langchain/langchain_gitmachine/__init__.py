"""GitMachine sessions as LangChain tools."""
