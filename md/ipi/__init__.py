"""i-PI: client, guest and input; the driver that i-PI loads is md/ipi_driver.py, a path that inputs of others name."""
