"""The Processing algorithms, one file each."""
