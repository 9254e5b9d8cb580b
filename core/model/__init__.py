"""A model of facies: its network, what that is told, how many passes it takes, and the file that holds it."""
