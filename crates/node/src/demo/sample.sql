CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL, country text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, amount numeric(10,2) NOT NULL, note text);
CREATE INDEX orders_customer ON orders (customer_id);
INSERT INTO customers VALUES
  (1, 'Ada', 'England'), (2, 'Grace', 'United States'), (3, 'Edsger', 'Netherlands'),
  (4, 'Barbara', 'United States'), (5, 'Leslie', 'United States'), (6, 'Radia', 'United States'),
  (7, 'Tony', 'England'), (8, 'Jim', 'United States');
INSERT INTO orders SELECT n, 1 + n % 8, (n % 97) + 0.25, 'order ' || n FROM generate_series(1, 1000) AS g(n);
