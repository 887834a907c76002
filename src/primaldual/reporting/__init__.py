"""What every report needs: figures as SVG, one look per attention, numbers in words, files written whole."""
