"""What the page says around its tables and figures."""

HEAD = """<!-- Written by `python -m benchmarks.when_it_helps page`. -->

# When does each attention help?
"""
PREDICTED = "## Named in advance\n"
FOUND = ""
ACCURACY = "## Accuracy and heads\n"
ENTROPY = "## Entropy\n"
COST = "## Cost\n"
TRIED = "## Everything that was tried\n"
AGAIN = """## Run it again

    python -m benchmarks.when_it_helps --help
"""
