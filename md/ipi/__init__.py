"""i-PI: client, guest and input; md/ipi_driver.py is the driver that i-PI loads, and existing inputs refer to that path."""
