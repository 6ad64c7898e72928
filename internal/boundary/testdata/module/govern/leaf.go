package govern
