"""Commands for those who release the library."""
