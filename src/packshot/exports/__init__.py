"""What other systems and people take from verdicts: feeds, tables, pages, folders of pictures, an index of styles."""
