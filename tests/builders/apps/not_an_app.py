"""Has something else where its app should be."""

app = "no app"
