"""Who a person is: users who sign in by e-mail, and the tokens they get."""
