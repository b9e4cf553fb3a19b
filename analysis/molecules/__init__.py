"""What networks of molecules without coordinates have learned."""
