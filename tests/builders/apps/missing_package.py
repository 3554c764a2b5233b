"""Needs a package that no node has."""

import package_that_nobody_has
from flwr.clientapp import ClientApp

app = ClientApp()
package_that_nobody_has.use(app)
