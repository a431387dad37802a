INSERT INTO author (name, email, born, rating) VALUES ('Ann', 'a@example.com', '1970-01-01', 4.5), ('it''s	a tab', NULL, NULL, 1);
INSERT INTO book (author_id, title, tags, meta, price, pages, published, code) VALUES
  (1, 'One', '{a,"b c",NULL}', '{"a": [1, null]}', 9.50, 100, '2024-01-02 03:04:05.678+00', 'ab'),
  (2, E'Back\\slash\nand line', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO app.pair VALUES (1, 'x', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '1 mon 2 days 03:00:00', '\x00ff', '12:34:56', 0.1);
INSERT INTO app."Odd Name" VALUES (7, 'odd');
SELECT nextval('app.counter');
